# rowcast in a container: `docker build -t rowcast .`, then
#   docker run -p 3001:3001 -e DATABASE_URL=postgres://… -e ROWCAST_JWT_SECRET_FILE=/run/secrets/key -v ./key:/run/secrets/key:ro rowcast
# Every flag is a variable: --poll-interval is ROWCAST_POLL_INTERVAL. Without a key it needs ROWCAST_PUBLIC=true.

FROM rust:1.94-slim-bookworm AS build
# What the cryptography (aws-lc) and SQLite are compiled with.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/rowcast /rowcast && strip /rowcast && mkdir /data

# A user that owns nothing but its data; certificates, for the URL of a JWKS and for Postgres.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 65532 --no-create-home --shell /usr/sbin/nologin rowcast
COPY --from=build /rowcast /usr/local/bin/rowcast
# A volume for a SQLite file: DATABASE_URL=sqlite:///data/rowcast.db
COPY --from=build --chown=rowcast:rowcast /data /data
USER 65532
WORKDIR /data
ENV ROWCAST_LISTEN=0.0.0.0:3001
EXPOSE 3001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/rowcast"]
CMD ["serve"]
# No HEALTHCHECK: orchestrators ask GET /healthz and /readyz themselves, and docs/ops/compose.yaml asks with bash.
