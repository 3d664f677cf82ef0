#!/bin/bash
# Entry point of the postgres image: makes the database at the first start, then becomes the server.
#
# POSTGRES_PASSWORD          the superuser's password (required at the first start, unless the next says `trust`)
# POSTGRES_HOST_AUTH_METHOD  how clients prove who they are: scram-sha-256 unless said otherwise
# POSTGRES_USER, POSTGRES_DB the superuser's name (postgres) and the database to make (the user's name)
# PGDATA                     where the database lies
set -eu

case ${1-} in -* | '') set -- postgres "$@" ;; esac
case $1 in postgres) ;; *) exec "$@" ;; esac

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres:postgres "$PGDATA"
  chown postgres:postgres /var/run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi

user=${POSTGRES_USER:-postgres}
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD-}" ] && [ "$method" != trust ]; then
    echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
    echo '       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.' >&2
    exit 1
  fi
  rm -rf "$PGDATA"/.[!.]* "${PGDATA:?}"/* # what a first start that was killed has left
  initdb --no-sync --username="$user" --auth-local=trust --auth-host="$method" \
    --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD-}")
  printf 'host all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
  printf "%s\n" "listen_addresses = '*'" 'log_connections = on' 'jit = off' >>"$PGDATA/postgresql.conf"
  if [ "${POSTGRES_DB:-$user}" != postgres ]; then
    echo "CREATE DATABASE \"${POSTGRES_DB:-$user}\";" | postgres --single -jE postgres
  fi
  sync -f "$PGDATA"
fi
exec "$@"
