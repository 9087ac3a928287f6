# Debian 12 packages of Virga: what it builds with, what it runs with, what its tests need. Sourced by allinone and test.

BUILD_PACKAGES="g++ cmake ninja-build ccache mold pkg-config protobuf-compiler protobuf-compiler-grpc
  libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev libgrpc++-dev libprotobuf-dev libsqlite3-dev libmariadb-dev
  libvirt-dev libpugixml-dev libspdlog-dev libfmt-dev libcli11-dev libtomlplusplus-dev libssl-dev libcrypt-dev libarchive-dev libldap-dev zlib1g-dev libyaml-dev
  libgtest-dev libgmock-dev libbenchmark-dev"

RUN_PACKAGES="libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils openvswitch-switch ovn-central ovn-host
  iproute2 openssh-client e2fsprogs procps sqlite3 ca-certificates"

CLIENT_PACKAGES="python3-openstackclient"

TEST_PACKAGES="iputils-ping mariadb-server nats-server rsync tempest curl ethtool wrk python3 busybox nftables slapd libfaketime clang-14 libclang-rt-14-dev"

POC_PACKAGES="mmdebstrap e2fsprogs"  # of the proof of concept's machines (virga lab poc)

# Installs what is missing, quietly, and starts none of the distribution's daemons.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
  local guard=/usr/sbin/policy-rc.d made_guard=
  if [ ! -e $guard ]; then  # Debian's way to say: install, but do not start services
    printf '#!/bin/sh\nexit 101\n' > $guard && chmod +x $guard && made_guard=1
  fi
  local log rc=0
  log=$(mktemp)
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1 || rc=$?
  [ -n "$made_guard" ] && rm -f $guard
  if [ $rc -ne 0 ]; then
    tail -20 "$log" >&2
    echo "The packages could not be installed (the whole log: $log)." >&2
    return 1
  fi
  rm -f "$log"
}

# Configures and builds the given targets of a preset; the output only if it fails.
build_preset() {
  local preset=$1
  shift
  local log rc=0
  log=$(mktemp)
  { [ -f "build/$preset/build.ninja" ] || cmake --preset "$preset"; } > "$log" 2>&1 && ninja -C "build/$preset" "$@" > "$log" 2>&1 || rc=$?
  if [ $rc -ne 0 ]; then
    grep -E 'error|FAILED' "$log" | head -40 >&2
    echo "The build failed (the whole log: $log)." >&2
    return 1
  fi
  rm -f "$log"
}

seconds_since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.2f", b - a }'; }
