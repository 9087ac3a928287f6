# Two controllers over one MariaDB, on the fake hypervisor and on 127.0.0.1: sourced after cloud.sh and mariadb.sh.
#   new_pair PROGRAM NAME PORT [toml lines…]   API of the first at PORT, of the second at PORT+1, links at PORT+2 and PORT+3, NATS at
#                                              PORT+4, the balancer in front of both at PORT+5, MariaDB at PORT+100
#   first …, second …                          virga on either
new_pair() {
  local program=$1 name=$2 port=$3
  shift 3
  trap end_pair EXIT
  new_mariadb $((port + 100)) || return 1
  new_cloud "$program" "$name" "$port" 'demo_password = "demo-secret"' '[database]' "url = \"$MARIADB_URL\"" '[compute]' 'hypervisor = "fake"' 'host_name = "first"' \
    '[hosts]' 'address = "127.0.0.1"' "link_port = $((port + 2))" "southbound_port = $((port + 6))" '[demo]' "server = ${PAIR_DEMO_SERVER:-false}" '[ha]' 'nats_server = true' \
    "nats_port = $((port + 4))" "$@"
  trap end_pair EXIT
  sed -i "s/^namespace = .*/mode = \"host\"/" "$CONFIG"
  SECOND=$CLOUD_DIR/second
  mkdir "$SECOND"
  cat > "$SECOND/virga.toml" <<EOF2
[cloud]
state_dir = "$SECOND/state"
run_dir = "$SECOND/run"
log_dir = "$SECOND/log"
api_port = $((port + 1))
[compute]
hypervisor = "fake"
host_name = "other"
[hosts]
link_port = $((port + 3))
EOF2
  BALANCER_PORT=$((port + 5))
}

first() { virga "$@"; }
second() { env -u SUDO_USER HOME="$SECOND" "$VIRGA" --config "$SECOND/virga.toml" "$@"; }

# The second one's configuration as an operator may write it: the same settings, the same master key.
second_by_hand() {
  sed -e "s|^state_dir.*|state_dir = \"$SECOND/state\"|; s|^run_dir.*|run_dir = \"$SECOND/run\"|; s|^log_dir.*|log_dir = \"$SECOND/log\"|" \
    -e "s|^api_port = \(.*\)|api_port = $((BALANCER_PORT - 4))\nrole = \"controller\"|; s|^host_name.*|host_name = \"other\"|" \
    -e "s|^link_port.*|link_port = $((BALANCER_PORT - 2))\ncontrollers = [\"127.0.0.1:$((BALANCER_PORT - 3))\"]|; s|^metrics_port.*||" \
    -e "s|^nats_server.*|nats_url = \"tls://127.0.0.1:$((BALANCER_PORT - 1))\"|; s|^nats_port.*||; s|^server = .*|enabled = false|" "$CONFIG" > "$SECOND/virga.toml"
  mkdir -p "$SECOND/state/secrets"
  cp -p "$CLOUD_DIR"/state/secrets/*_password "$SECOND/state/secrets/"
  mkdir -p -m 700 "$SECOND/state/control"
  cp -p "$CLOUD_DIR/state/control/master.key" "$SECOND/state/control/"
  touch "$SECOND/state/.virga"
}

balance() {
  /usr/bin/python3 "$here/controllers/round_robin.py" $BALANCER_PORT "$@" &
  BALANCER_PID=$!
}

end_pair() {
  [ -z "${BALANCER_PID:-}" ] || kill "$BALANCER_PID" 2> /dev/null
  local config
  for config in "${CLOUD_DIR:-/nowhere}"/*/virga.toml; do
    [ -e "$config" ] && env -u SUDO_USER "$VIRGA" --config "$config" down --purge > /dev/null 2>&1
  done
  [ -z "${CLOUD_DIR:-}" ] || end_cloud
  end_mariadb
}
