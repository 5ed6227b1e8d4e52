# One image for every part: docker run lanework gateway | worker | history run. `lanework --help` names the rest.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/lanework
ENV PATH=/opt/lanework/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.txt .
RUN pip install --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY runtime runtime
RUN pip install --no-deps --no-build-isolation .
# what functions need: Lanework's own packages stay as they are
COPY LICENSE functions/requirements.tx[t] functions/
RUN pip uninstall -q -y hatchling editables pathspec trove-classifiers \
 && if [ -f functions/requirements.txt ]; then \
        pip freeze --exclude lanework > kept.txt && pip install -r functions/requirements.txt -c kept.txt; \
    fi \
 && pip uninstall -q -y pip

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Lanework" \
      org.opencontainers.image.description="Event-driven functions on containers: gateway, worker and history" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 lanework \
 && useradd --system --uid 10001 --gid lanework --home-dir /app --no-create-home lanework \
 && install -d -o lanework -g lanework /app /app/files
COPY --from=build /opt/lanework /opt/lanework
COPY deploy/image/healthcheck.py /usr/local/bin/lanework-healthcheck
ENV PATH=/opt/lanework/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LANEWORK_HOST=0.0.0.0 LANEWORK_FUNCTIONS_DIR=/app/functions LANEWORK_FILES_DIR=/app/files
WORKDIR /app
COPY functions functions
USER lanework
EXPOSE 8080 9100 50051
HEALTHCHECK --interval=5s --timeout=10s --retries=12 CMD ["python3", "-ISE", "/usr/local/bin/lanework-healthcheck"]
ENTRYPOINT ["lanework"]
CMD ["--help"]
