# The image: one static binary, CA certificates, an unprivileged user, a data folder.
#
#   docker build -t bedrock-proxy .
#   docker run -p 8081:8081 --env-file .env bedrock-proxy          .env needs JWT_SECRET_KEY: the port is open
#   docker compose -f compose.demo.yaml up --build                 needs no AWS account
#   docker buildx build --platform linux/arm64 -t bedrock-proxy .  cross-compiled, not emulated
#
# Building needs BuildKit. The container runs with a read-only root, without capabilities, as any user that can write to /data.

# The same version as in rust-toolchain.toml.
ARG RUST_VERSION=1.95.0

FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-bookworm AS build
ARG RUST_VERSION
ARG BUILDARCH
ARG TARGETARCH
# Use the image's toolchain, without the developer components that rust-toolchain.toml lists.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# For the target architecture: musl's headers, Rust's standard library, and a cross compiler if the build machine differs.
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
        amd64) machine=x86_64 ;; \
        arm64) machine=aarch64 ;; \
        *) echo "$TARGETARCH is not supported; use linux/amd64 or linux/arm64" >&2; exit 2 ;; \
    esac; \
    packages=("musl-dev:$TARGETARCH"); \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
        dpkg --add-architecture "$TARGETARCH"; \
        packages+=("gcc-${machine/_/-}-linux-gnu"); \
    fi; \
    apt-get update; \
    apt-get install -y --no-install-recommends "${packages[@]}"; \
    rm -rf /var/lib/apt/lists/*; \
    rustup target add "$machine-unknown-linux-musl"
WORKDIR /src
COPY . .
ARG BEDROCK_PROXY_COMMIT
# Without `demo`; compose.demo.yaml adds it.
ARG BEDROCK_PROXY_FEATURES=mimalloc,aws-lc-rs
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    binary=$(scripts/static "$TARGETARCH"); \
    install -D "$binary" /image/usr/local/bin/bedrock-proxy
RUN mkdir -p /image/root/etc/ssl/certs /image/root/usr/share/licenses/bedrock-proxy /image/data; \
    cp /etc/ssl/certs/ca-certificates.crt /image/root/etc/ssl/certs/; \
    cp LICENSE /image/root/usr/share/licenses/bedrock-proxy/; \
    echo 'bedrock:x:65532:65532::/data:/nonexistent' >/image/root/etc/passwd; \
    echo 'bedrock:x:65532:' >/image/root/etc/group

FROM scratch
COPY --from=build /image/root/ /
COPY --from=build --chown=65532:65532 /image/data /data
COPY --from=build /image/usr/local/bin/bedrock-proxy /usr/local/bin/bedrock-proxy

ARG BEDROCK_PROXY_COMMIT
LABEL org.opencontainers.image.title="bedrock-proxy" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Anthropic Messages API in, AWS Bedrock out" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${BEDROCK_PROXY_COMMIT}"

# The program writes to /data only, including temporary files, so that the root file system can be read-only.
ENV PATH=/usr/local/bin \
    HOST=0.0.0.0 \
    DATA_DIR=/data \
    LOG_OUTPUT=stdout \
    TMPDIR=/data
WORKDIR /data
VOLUME ["/data"]
USER 65532:65532
EXPOSE 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["bedrock-proxy", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/bedrock-proxy"]
CMD ["serve"]
