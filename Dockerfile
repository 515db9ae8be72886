# docker build -t atrium .
FROM python:3.11-slim AS packages
COPY requirements.txt /
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r /requirements.txt

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home atrium
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 ATRIUM_DATA_DIR=/data ATRIUM_STATIC_DIR=/srv/static
WORKDIR /srv/atrium
COPY manage.py ./
COPY config config
COPY tenants tenants
COPY chat chat
RUN python -m compileall -q . && python manage.py collectstatic --noinput
USER atrium
VOLUME /data
EXPOSE 8000
# Times and sizes as `manage.py up` sets them; PROXIES are the addresses that X-Forwarded-* is
# believed from.
ENV PROXIES=127.0.0.1
CMD exec uvicorn config.asgi:application --host 0.0.0.0 --port 8000 --lifespan on \
    --http config.connections:HttpProtocol --forwarded-allow-ips "$PROXIES" --ws websockets-sansio --ws-per-message-deflate false \
    --ws-max-size 1048576 --timeout-graceful-shutdown 10 --no-access-log --no-server-header
