# Spark: master, workers, and the platform's worker that drives them, so that driver and executors have one Python.
# Build context: the checkout's top.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY infra/locks/uv.txt infra/locks/service-spark.txt infra/locks/
RUN python3.11 -m venv /opt/tanada
RUN /opt/tanada/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r infra/locks/uv.txt
RUN /opt/tanada/bin/uv pip install --quiet --python /opt/tanada/bin/python --require-hashes --compile-bytecode -r infra/locks/service-spark.txt
COPY . .
RUN /opt/tanada/bin/uv pip install --quiet --python /opt/tanada/bin/python --no-deps --no-build-isolation --compile-bytecode . ./api/client

# What Spark needs beside its own jars: Delta, S3A and the log store of infra/spark.
FROM maven:3.9-eclipse-temurin-17 AS jars
WORKDIR /src
COPY infra/spark infra/spark
RUN mvn -q -B -f infra/spark/pom.xml package

FROM python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless \
 && rm -rf /var/lib/apt/lists/*
# Nobody in particular; decoders of foreign bytes run below it. A new volume takes its folder's owner.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/tanada --shell /usr/sbin/nologin tanada \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/tanada /var/lib/tanada/keys /var/lib/tanada/scratch \
 && install -d -o 10001 -g 10001 /var/lib/tanada/landing /var/lib/tanada/recipes
COPY --from=build /opt/tanada /opt/tanada
COPY --from=jars /src/infra/spark/target/jars /opt/spark/jars
COPY infra/images/spark-defaults.conf /opt/spark/conf/
ENV SPARK_HOME=/opt/tanada/lib/python3.11/site-packages/pyspark \
    SPARK_CONF_DIR=/opt/spark/conf \
    SPARK_WORKER_DIR=/tmp/spark-work \
    SPARK_NO_DAEMONIZE=1
ENV PATH=/opt/tanada/bin:$SPARK_HOME/bin:$PATH
USER 10001:10001
EXPOSE 7077 8080 8081 9464
ENTRYPOINT ["tanada"]
CMD ["worker"]
