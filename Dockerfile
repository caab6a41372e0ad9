# docker build -t marquee . && docker run -p 8000:8000 -v marquee:/data marquee
FROM python:3.11-slim-bookworm AS builder
WORKDIR /opt/marquee
COPY requirements.lock setup.cfg ./
COPY deploy/install.py deploy/
RUN python deploy/install.py

FROM python:3.11-slim-bookworm
WORKDIR /opt/marquee
COPY --from=builder /opt/marquee/.venv .venv
COPY . .
# The server writes only to /data. A numeric user lets Kubernetes verify runAsNonRoot.
RUN install -d -o 10001 -g 10001 -m 0700 /data
USER 10001:10001
VOLUME /data
# Listen on every address of the container; `docker run -p` selects those of the host.
ENV MARQUEE_HOST=0.0.0.0 MARQUEE_DATA=/data PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=10s --timeout=3s CMD [".venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT [".venv/bin/python", "server.py"]
CMD ["serve"]
