# One image for the gateway and for workers: docker run lanework gateway | worker
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY requirements.txt .
RUN python3 -m venv /opt/lanework \
 && /opt/lanework/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY runtime runtime
RUN /opt/lanework/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM ${PYTHON_IMAGE}
RUN groupadd --system --gid 10001 lanework \
 && useradd --system --uid 10001 --gid lanework --home-dir /app --no-create-home lanework \
 && install -d -o lanework -g lanework /app /app/files
COPY --from=build /opt/lanework /opt/lanework
ENV PATH=/opt/lanework/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LANEWORK_HOST=0.0.0.0 LANEWORK_FUNCTIONS_DIR=/app/functions LANEWORK_FILES_DIR=/app/files
WORKDIR /app
COPY functions functions
USER lanework
EXPOSE 8080 9100 50051
ENTRYPOINT ["lanework"]
CMD ["--help"]
