# A cloud of its own for a test: sourced. Gives `virga` (with its configuration), $STATE (status as JSON), up and down.
#   new_cloud PROGRAM NAME PORT [toml lines…]
new_cloud() {
  local program=$1 name=$2 port=$3
  shift 3
  CLOUD_DIR=$(mktemp -d "/tmp/virga-test-$name.XXXXXX")
  CLOUD_NAME="vt-$name"
  chmod 711 "$CLOUD_DIR"
  VIRGA=$program
  CONFIG=$CLOUD_DIR/virga.toml
  export HOME=$CLOUD_DIR/home
  mkdir -p "$HOME" && chmod 711 "$HOME"
  cat > "$CONFIG" <<EOF
[cloud]
state_dir = "$CLOUD_DIR/state"
run_dir = "$CLOUD_DIR/run"
log_dir = "$CLOUD_DIR/log"
package_cache = "${VIRGA_TEST_PACKAGES:-/var/cache/virga-test-packages}"
api_port = $port
[network]
namespace = "$CLOUD_NAME"
[identity]
bcrypt_cost = 6
EOF
  printf '%s\n' "$@" >> "$CONFIG"
  mkdir -p "${VIRGA_TEST_PACKAGES:-/var/cache/virga-test-packages}"
  trap 'end_cloud' EXIT
}

virga() { env -u SUDO_USER "$VIRGA" --config "$CONFIG" "$@"; }

end_cloud() {
  virga down --purge > "$CLOUD_DIR/down.log" 2>&1 || { cat "$CLOUD_DIR/down.log"; return 1; }
  if [ -n "${KEEP_LOGS:-}" ]; then echo "kept: $CLOUD_DIR"; else rm -rf "$CLOUD_DIR"; fi
}

# Inside the cloud's data plane.
inside() { ip netns exec "$CLOUD_NAME" "$@"; }

checks_passed=0 checks_failed=0
# check "what should hold" COMMAND…
check() {
  local what=$1 out
  shift
  if out=$("$@" 2>&1); then
    checks_passed=$((checks_passed + 1))
    echo "ok      $what"
  else
    checks_failed=$((checks_failed + 1))
    echo "FAILED  $what"
    sed 's/^/        /' <<< "$out" | tail -15
  fi
}
report_checks() { echo "$checks_passed passed, $checks_failed failed"; [ $checks_failed -eq 0 ]; }

# wait_for SECONDS COMMAND…: until it succeeds
wait_for() {
  local end=$(($(date +%s) + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "$(date +%s)" -lt $end ] || { "$@"; return 1; }
    sleep 0.2
  done
}
