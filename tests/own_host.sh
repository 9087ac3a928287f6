# A host of a test's own: sourced. The script that calls own_host runs again in network, mount, PID and UTS namespaces of
# its own, with a private /run, and /etc and /var that forget what is written to them. Whatever it starts ends with it, and
# nothing of it is seen outside. It is wired like a machine in a rack:
#
#   eth0  198.51.100.2/24, the way to everything (default route)      eth1  no address: for the external network
#     |                                                                 |
#   out0  198.51.100.1/24                                             out1  172.24.4.1/24, the external network's gateway
#     +------ the outside: forwards; 203.0.113.7 is a machine far away ----+
#
#   own_host "$@"            first command of the script, with its arguments
#   outside COMMAND…         runs out there
own_host() {
  if [ -z "${OWN_HOST:-}" ]; then
    # What builds the tiny guest needs the world; inside there is none.
    local packages=${VIRGA_TEST_PACKAGES:-/var/cache/virga-test-packages} guest rc=0
    mkdir -p "$packages"
    guest=$(mktemp -d)
    "$1" image build --out "$guest" --packages "$packages" > "$guest/log" 2>&1 || { cat "$guest/log"; rc=1; }
    rm -rf "$guest"
    [ $rc -eq 0 ] || { echo "0 passed, 1 failed"; exit 1; }
    OWN_HOST=1 exec unshare --net --mount --pid --uts --fork --kill-child --mount-proc --propagation private "$BASH" "$0" "$@"
  fi
  private_folders && wires || { echo "0 passed, 1 failed"; exit 1; }
}

private_folders() {
  local packages=${VIRGA_TEST_PACKAGES:-/var/cache/virga-test-packages} folder
  hostname rack1
  OWN_FILES=/mnt
  mount -t tmpfs -o mode=755 tmpfs $OWN_FILES || return 1
  mkdir $OWN_FILES/packages $OWN_FILES/cgroup
  mount --bind "$packages" $OWN_FILES/packages
  for folder in etc var; do
    mkdir -p $OWN_FILES/$folder/upper $OWN_FILES/$folder/work
    chmod 755 $OWN_FILES/$folder/upper
    mount -t overlay -o "lowerdir=/$folder,upperdir=$OWN_FILES/$folder/upper,workdir=$OWN_FILES/$folder/work" overlay /$folder || return 1
  done
  mkdir -p "$packages"
  mount --bind $OWN_FILES/packages "$packages"
  mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/lock || return 1
  # A sysfs that shows this namespace's devices, with the cgroups where they were.
  mount --rbind /sys/fs/cgroup $OWN_FILES/cgroup
  mount -t sysfs sysfs /sys || return 1
  mount --rbind $OWN_FILES/cgroup /sys/fs/cgroup
}

outside() { nsenter --net="/proc/$OUTSIDE/ns/net" -- "$@"; }

wires() {
  unshare --net sleep infinity &
  OUTSIDE=$!
  local i here
  here=$(readlink /proc/self/ns/net)
  for i in $(seq 100); do [ "$(readlink /proc/$OUTSIDE/ns/net)" != "$here" ] && break; sleep 0.02; done
  sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0  # else a comparison sees it end
  ip link set lo up
  outside ip link set lo up
  for i in 0 1; do
    ip link add "eth$i" type veth peer name "out$i" netns "$OUTSIDE" || return 1
    # The userspace datapath completes no checksums that a sender left to its device.
    ethtool -K "eth$i" tx off > /dev/null && outside ethtool -K "out$i" tx off > /dev/null || return 1
    outside ip link set "out$i" up
  done
  ip addr add 198.51.100.2/24 dev eth0
  ip link set eth0 up
  ip route add default via 198.51.100.1
  outside ip addr add 198.51.100.1/24 dev out0
  outside ip addr add 172.24.4.1/24 dev out1
  outside ip addr add 203.0.113.7/32 dev lo
  outside sysctl -qw net.ipv4.ip_forward=1
  ip link set eth1 up && ip link set eth1 down  # it had a driver before
}
