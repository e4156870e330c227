# Server and worker: one image, built from the locks. Build context: the checkout's top.
# The build stage is the same in all images, but for the lock; its RUN steps use nothing but Python, so that a test runs
# them without an engine.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY infra/locks/uv.txt infra/locks/service.txt infra/locks/
RUN python3.11 -m venv /opt/tanada
RUN /opt/tanada/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r infra/locks/uv.txt
RUN /opt/tanada/bin/uv pip install --quiet --python /opt/tanada/bin/python --require-hashes --compile-bytecode -r infra/locks/service.txt
COPY . .
RUN /opt/tanada/bin/uv pip install --quiet --python /opt/tanada/bin/python --no-deps --no-build-isolation --compile-bytecode . ./api/client

FROM python:3.11-slim-bookworm
# Nobody in particular; decoders of foreign bytes run below it. A new volume takes its folder's owner.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/tanada --shell /usr/sbin/nologin tanada \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/tanada /var/lib/tanada/keys /var/lib/tanada/scratch \
 && install -d -o 10001 -g 10001 /var/lib/tanada/landing /var/lib/tanada/recipes
COPY --from=build /opt/tanada /opt/tanada
ENV PATH=/opt/tanada/bin:$PATH
USER 10001:10001
EXPOSE 8000 9464
ENTRYPOINT ["tanada"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
