# A MariaDB server of a test's own: sourced. In a temporary folder, on 127.0.0.1, with a user that has a password, as an
# operator would give it to Virga. (The unit tests' twin is tests/support/mariadb.h.)
#   new_mariadb PORT        makes and starts it; $MARIADB_URL then names a database that does not exist yet
#   start_mariadb, kill_mariadb (kill -9), end_mariadb
new_mariadb() {
  MARIADB_DIR=$(mktemp -d /tmp/virga-test-mariadb.XXXXXX)
  MARIADB_PORT=$1
  MARIADB_URL="mariadb://virga:p%40ss%2F@127.0.0.1:$MARIADB_PORT/virga"  # its password is p@ss/
  chmod 755 "$MARIADB_DIR"
  install -d -o mysql -g mysql "$MARIADB_DIR/data" "$MARIADB_DIR/run"
  mariadb-install-db --no-defaults --user=mysql --datadir="$MARIADB_DIR/data" --skip-test-db \
    --auth-root-authentication-method=normal > "$MARIADB_DIR/install.log" 2>&1 || { cat "$MARIADB_DIR/install.log"; return 1; }
  start_mariadb || return 1
  mariadb_root -e "CREATE USER virga@'127.0.0.1' IDENTIFIED BY 'p@ss/'; GRANT ALL ON virga.* TO virga@'127.0.0.1'"
}

mariadb_root() { mariadb --no-defaults -u root -S "$MARIADB_DIR/run/sock" "$@"; }

start_mariadb() {
  mariadbd --no-defaults --user=mysql --datadir="$MARIADB_DIR/data" --socket="$MARIADB_DIR/run/sock" \
    --bind-address=127.0.0.1 --port="$MARIADB_PORT" --skip-name-resolve --pid-file="$MARIADB_DIR/run/pid" \
    --innodb-buffer-pool-size=64M --innodb-log-file-size=32M --character-set-server=latin1 >> "$MARIADB_DIR/log" 2>&1 &
  MARIADB_PID=$!
  local i
  for i in $(seq 300); do
    mariadb_root -e 'SELECT 1' > /dev/null 2>&1 && return 0
    kill -0 "$MARIADB_PID" 2> /dev/null || break
    sleep 0.1
  done
  tail -20 "$MARIADB_DIR/log"
  return 1
}

kill_mariadb() {
  kill -9 "$MARIADB_PID"
  wait "$MARIADB_PID" 2> /dev/null
  true
}

end_mariadb() {
  [ -n "${MARIADB_DIR:-}" ] || return 0
  [ -z "${MARIADB_PID:-}" ] || { kill "$MARIADB_PID" && wait "$MARIADB_PID"; } 2> /dev/null
  rm -rf "$MARIADB_DIR"
}
