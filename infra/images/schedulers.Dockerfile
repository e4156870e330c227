# Airflow and Dagster with the platform whose jobs they run: they resolve together, so one image serves both.
# Build context: the checkout's top.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY infra/locks/uv.txt infra/locks/service-schedulers.txt infra/locks/
RUN python3.11 -m venv /opt/tanada
RUN /opt/tanada/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r infra/locks/uv.txt
RUN /opt/tanada/bin/uv pip install --quiet --python /opt/tanada/bin/python --require-hashes --compile-bytecode -r infra/locks/service-schedulers.txt
COPY . .
RUN /opt/tanada/bin/uv pip install --quiet --python /opt/tanada/bin/python --no-deps --no-build-isolation --compile-bytecode . ./api/client

FROM python:3.11-slim-bookworm
# Nobody in particular; decoders of foreign bytes run below it. A new volume takes its folder's owner.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/tanada --shell /usr/sbin/nologin tanada \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/tanada /var/lib/tanada/keys /var/lib/tanada/scratch \
 && install -d -o 10001 -g 10001 /var/lib/tanada/landing /var/lib/tanada/recipes
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/airflow /var/lib/dagster
COPY --from=build /opt/tanada /opt/tanada
# Definitions are no part of the wheel: schedulers read them from a folder.
COPY dags /opt/platform/dags
COPY infra/images/dagster.yaml infra/images/workspace.yaml /opt/platform/dagster/
ENV PATH=/opt/tanada/bin:$PATH \
    PYTHONPATH=/opt/platform \
    AIRFLOW_HOME=/var/lib/airflow \
    DAGSTER_HOME=/opt/platform/dagster \
    DAGSTER_DISABLE_TELEMETRY=1
WORKDIR /opt/platform
USER 10001:10001
EXPOSE 8080 8793 8974 3000 4000
# `airflow …` or `dagster …`: whoever starts it says which.
CMD ["airflow", "version"]
