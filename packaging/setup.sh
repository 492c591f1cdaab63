# shellcheck shell=bash
# What a machine needs to build and run Wherry: found, installed, started. Sourced by quickstart and test; runs nothing
# by itself.

# shellcheck disable=SC2034  # used by those who source this
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Under sudo the build belongs to the person, not to root: their toolchain, their caches.
builder=${SUDO_USER:-$(id -un)}
builder_home=$(getent passwd "$builder" | cut -d: -f6)
builder_home=${builder_home:-$HOME}
[[ -d $builder_home/.cargo/bin ]] && PATH=$builder_home/.cargo/bin:$PATH
target=${CARGO_TARGET_DIR:-$builder_home/.cache/wherry-target}
export PATH CARGO_TARGET_DIR=$target

say() {
  printf '==> %s\n' "$1" >&2
}

# die WHAT REMEDY
die() {
  printf 'error: %s\n' "$1" >&2
  printf '  fix: %s\n' "$2" >&2
  exit 1
}

have() {
  command -v "$1" >/dev/null 2>&1
}

# Runs a command as the person who called sudo, or as it is.
as_builder() {
  if [[ $builder != "$(id -un)" ]]; then
    sudo -u "$builder" -H env PATH="$PATH" CARGO_TARGET_DIR="$target" "$@"
  else
    "$@"
  fi
}

on_debian() {
  [[ -r /etc/os-release ]] && grep -Eq '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release && have apt-get
}

engine_answers() {
  have docker && timeout 20 docker version >/dev/null 2>&1
}

need_rust() {
  as_builder cargo --version >/dev/null 2>&1 ||
    die "there is no Rust toolchain" "install one from https://rustup.rs and run this again"
}

# The Debian packages this machine lacks, one per line.
missing_packages() {
  have cc || printf '%s\n' gcc
  [[ -e /usr/include/stdlib.h ]] || printf '%s\n' libc6-dev
  [[ -x /bin/busybox ]] && [[ $(ldd /bin/busybox 2>&1) != *"=>"* ]] || printf '%s\n' busybox-static
  have dockerd || engine_answers || printf '%s\n' docker.io
}

# install_packages NAME...: as root, on Debian or Ubuntu.
install_packages() {
  local packages=("$@")
  on_debian || die "not installed: $*" "install them with this system's package manager"
  [[ $EUID == 0 ]] || die "not installed: $*" "run as root: apt-get install $*"
  say "installing $*"
  apt-get update -qq || say "the package lists could not be refreshed; trying with those at hand"
  # Newer releases keep the docker command in a package of its own, which docker.io only recommends.
  if [[ " $* " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then
    packages+=(docker-cli)
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >&2 ||
    die "apt-get could not install ${packages[*]}" "see its message above, then run this again"
  hash -r
}

# Starts the Docker Engine unless it answers already, and waits until it does.
start_engine() {
  engine_answers && return
  [[ $EUID == 0 ]] || die "the Docker Engine does not answer" "as root: systemctl start docker; or let this user reach its socket"
  local log=/var/log/dockerd.log waited
  say "starting the Docker Engine"
  if [[ -d /run/systemd/system ]]; then
    log="journalctl -u docker"
    systemctl start docker || true
  else
    # No service manager, as in many containers: by hand, and it outlives this script.
    setsid dockerd </dev/null >"$log" 2>&1 &
  fi
  for ((waited = 0; waited < 60; waited++)); do
    engine_answers && return
    sleep 1
  done
  die "the Docker Engine did not answer within a minute" "see why: $log"
}
