"""Workers in any language, over a stream: `lanework.v1.WorkerService`."""
