# A lab of a test's own: sourced after cloud.sh. Gives $program, $folder, $packages for `lab up --packages`, and $said, a file to write to.
#   new_lab PROGRAM         nothing is on yet: `lab up …`; what is on at the test's end goes
#   lab WORDS…              virga lab
#   on HOST COMMAND…        a program on a host
new_lab() {
  program=$(realpath "$1")
  packages=${VIRGA_TEST_PACKAGES:-/var/cache/virga-test-packages}
  mkdir -p "$packages"
  folder=$(mktemp -d /tmp/virga-lab.XXXXXX)
  rmdir "$folder"
  said=$(mktemp)
  trap end_lab EXIT
}

lab() { "$program" lab --folder "$folder" "$@"; }
on() { local host=$1; shift; lab exec "$host" -- "$@" < /dev/null; }

end_lab() {
  lab down > "$said" 2>&1 || cat "$said"
  rm -f "$said"
}

fails() { ! "$@"; }
# is WANT COMMAND…: that is what it prints
is() { local want=$1; shift; [ "$("$@")" = "$want" ]; }
