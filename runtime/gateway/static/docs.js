const show = (headers) => SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  requestInterceptor: (request) => {
    Object.assign(request.headers, headers);
    return request;
  },
});

const form = document.getElementById("access");
const start = async (headers) => {
  const reply = await fetch("/openapi.json", { headers });
  form.hidden = reply.status !== 401 && reply.status !== 403;
  if (form.hidden) show(headers);
  return form.hidden;
};
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  // kept by this page alone, until it is closed
  const shown = await start({ Authorization: `Bearer ${form.elements.key.value.trim()}` });
  form.elements.why.value = shown ? "" : "The gateway refuses this key.";
});
start({});
