#!/bin/sh
# Installs what tests start by themselves: `ip` for partitions, Redis and PostgreSQL for storages, etcd and dnsmasq for
# providers. Only as root on a machine with apt-get, and only what is missing. No daemon is left running and no database
# is made: the tests start servers of their own, on data of their own. Without it the tests that need one skip, or fail
# where CI=true.
set -eu

packages=""
command -v ip > /dev/null || packages="$packages iproute2"
command -v redis-server > /dev/null || packages="$packages redis-server"
command -v postgres > /dev/null || ls /usr/lib/postgresql/*/bin/postgres > /dev/null 2>&1 || packages="$packages postgresql"
command -v etcd > /dev/null || packages="$packages etcd-server"
command -v dnsmasq > /dev/null || packages="$packages dnsmasq-base"
[ -n "$packages" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "not installed:$packages (needs root and apt-get)" >&2
    exit 0
fi

# In run level 1 Debian's scripts start no service after its installation.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
case "$packages" in
    *postgresql*)
        apt-get install -y -qq --no-install-recommends postgresql-common
        mkdir -p /etc/postgresql-common/createcluster.d
        echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/no-main-cluster.conf
        ;;
esac
# shellcheck disable=SC2086  # a list of words
apt-get install -y -qq --no-install-recommends $packages
if [ -d /run/systemd/system ]; then # systemd does not look at the run level
    case "$packages" in *etcd-server*) systemctl disable --now --quiet etcd ;; esac
    case "$packages" in *redis-server*) systemctl disable --now --quiet redis-server ;; esac
    case "$packages" in *postgresql*) systemctl disable --now --quiet postgresql ;; esac
fi
