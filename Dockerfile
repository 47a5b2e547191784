# syntax=docker/dockerfile:1
# The service alone: PostgreSQL, Redis and NATS run beside it (docker-compose.yml).
FROM rust:1.95-bookworm AS builder
WORKDIR /build
COPY . .
# The caches keep dependencies from being built again when only our sources change.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin mercuriale \
    && install -D target/release/mercuriale /out/mercuriale

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mercuriale \
    && install -d -o mercuriale -g mercuriale -m 0700 /var/lib/mercuriale
COPY --from=builder /out/mercuriale /usr/local/bin/mercuriale
USER mercuriale
WORKDIR /var/lib/mercuriale
ENV MERCURIALE_LISTEN=0.0.0.0:8080 \
    MERCURIALE_DATA_DIR=/var/lib/mercuriale
VOLUME /var/lib/mercuriale
EXPOSE 8080
ENTRYPOINT ["mercuriale"]
CMD ["serve"]
