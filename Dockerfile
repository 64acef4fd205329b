# The image of `spanhouse translate` and every other command but `spanhouse up`:
#   docker build --tag spanhouse .
# With the embedded ClickHouse that `spanhouse up` runs on, about twice as large:
#   docker build --tag spanhouse:up --target up .

FROM python:3.11-slim-bookworm AS base
# numba keeps what it compiled per type of CPU, and an image runs on another one than it was built on. Code for
# the generic type was measured to decode as fast.
ENV NUMBA_CPU_NAME=generic \
    PATH=/opt/spanhouse/bin:$PATH \
    PYTHONUNBUFFERED=1


FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python -m venv --without-pip /opt/spanhouse
# The dependencies in a layer of their own, which a change of the code leaves as it is.
COPY pyproject.toml .
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && /usr/local/bin/pip --python /opt/spanhouse/bin/python install --requirement requirements.txt \
    && find /opt/spanhouse -type d -name tests -prune -exec rm -r {} +
COPY . .
# The decoder is compiled here, once, and only read when the image runs.
RUN /usr/local/bin/pip --python /opt/spanhouse/bin/python install --no-deps . \
    && cd / \
    && python -m spanhouse.warm_up


FROM build AS build-translator
RUN /usr/local/bin/pip --python /opt/spanhouse/bin/python uninstall --yes chdb chdb-core pandas python-dateutil


FROM base AS runtime
RUN groupadd --gid 10001 spanhouse \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin spanhouse \
    && install --directory --owner 10001 --group 10001 /var/lib/spanhouse
WORKDIR /var/lib/spanhouse
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 9464
# What /healthz answers is what `docker inspect` shows.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-ISc", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 9464, timeout=4); c.request('GET', '/healthz'); a = c.getresponse(); print(a.read().decode()); sys.exit(a.status != 200)"]
ENTRYPOINT ["spanhouse"]
CMD ["--help"]


FROM runtime AS up
COPY --from=build /opt/spanhouse /opt/spanhouse


FROM runtime AS translator
COPY --from=build-translator /opt/spanhouse /opt/spanhouse
