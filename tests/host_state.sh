#!/bin/bash
# Prints what a trial must leave as it was: devices, addresses, routes, rules, firewall, sysctls, namespaces, listening
# ports, mounts and the folders that daemons use.
for family in -4 -6; do ip $family -o addr; ip $family route show table all; ip $family rule; done | sed -E 's/valid_lft.*//; s/expires [0-9]+sec//'
ip -o link | sed -E 's/ (qlen|state) [^ ]+//g'
nft list ruleset 2>/dev/null
ip netns list | sort
sysctl -a 2>/dev/null | grep -E '^net\.(ipv4|ipv6|bridge)\.' | grep -vE 'inet_peer|tcp_mem|udp_mem|random|nf_conntrack_count|neigh.*gc|tw_buckets|fib_|route_|icmp.*rate|ipfrag_secret|max_dst|stable_secret|tcp_fastopen_key'
ss -Hltnu | awk '{print $1, $5}' | sort
findmnt -rno TARGET | grep -vE '^/(proc|sys|dev)' | sort
ls -d /var/lib/virga /var/log/virga /run/virga /etc/virga 2>/dev/null
ls /etc/libvirt/qemu/networks/autostart /var/lib/libvirt/qemu /run/libvirt /run/openvswitch /run/ovn 2>/dev/null
true
