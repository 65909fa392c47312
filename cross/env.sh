# Source it (bash): builds for arm64 Linux on an amd64 Debian, with nothing but Debian's packages.
#
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install --no-install-recommends rustc-web cargo-web libstd-rust-web-dev:arm64 \
#       gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
#   . cross/env.sh
#   xcargo build --release
#
# Debian's rustc-web is new enough, and has the arm64 standard library as a package; rustup's users
# take `rustup target add aarch64-unknown-linux-gnu` and plain cargo with the same variables.
export CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
# Without -L: libc6:arm64 is installed with the standard library, and a loader from elsewhere
# hangs in pthread_create.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc
xcargo() { PATH=/usr/bin:/bin:/usr/sbin:/sbin /usr/bin/cargo "$@"; }
