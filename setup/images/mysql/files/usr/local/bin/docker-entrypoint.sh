#!/bin/bash
# Entry point of the mysql image: makes the database at the first start, then becomes the server.
#
# MYSQL_ROOT_PASSWORD         root's password, from any address (required at the first start, or one of the next two)
# MYSQL_ALLOW_EMPTY_PASSWORD  root needs no password
# MYSQL_RANDOM_ROOT_PASSWORD  a password is made up and printed
# MYSQL_DATABASE              a database to make; with MYSQL_USER and MYSQL_PASSWORD, a user who owns it
set -eu
data=/var/lib/mysql

case ${1-} in -* | '') set -- mysqld "$@" ;; esac
case $1 in mysqld | mariadbd) ;; *) exec "$@" ;; esac

say() { printf '[Entrypoint] %s\n' "$*" >&2; }
quoted() { local text=${1//\\/\\\\}; printf "'%s'" "${text//\'/\'\'}"; }
named() { printf '`%s`' "${1//\`/\`\`}"; }

mkdir -p "$data" /run/mysqld
chown mysql:mysql "$data" /run/mysqld
chown --dereference mysql /dev/stdout /dev/stderr 2>/dev/null || true # the server opens its log by this name

if [ ! -d "$data/mysql" ]; then
  if [ -n "${MYSQL_RANDOM_ROOT_PASSWORD-}" ] && [ -z "${MYSQL_ROOT_PASSWORD-}" ]; then
    MYSQL_ROOT_PASSWORD=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
    say "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
  fi
  if [ -z "${MYSQL_ROOT_PASSWORD-}" ] && [ -z "${MYSQL_ALLOW_EMPTY_PASSWORD-}" ]; then
    say 'Database is uninitialized and password option is not specified'
    say 'You need to specify one of MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD and MYSQL_RANDOM_ROOT_PASSWORD'
    exit 1
  fi
  say 'Initializing database files'
  # Into a folder beside its place, and moved when complete: a start that is killed leaves no half database.
  rm -rf "$data/.new"
  mariadb-install-db --user=mysql --datadir="$data/.new" --skip-test-db --skip-name-resolve \
    --auth-root-authentication-method=normal >/dev/null
  {
    echo 'FLUSH PRIVILEGES;'
    password=$(quoted "${MYSQL_ROOT_PASSWORD-}")
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $password;"
    echo "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1';"
    echo "CREATE USER 'root'@'%' IDENTIFIED BY $password;"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    if [ -n "${MYSQL_DATABASE-}" ]; then echo "CREATE DATABASE $(named "$MYSQL_DATABASE");"; fi
    if [ -n "${MYSQL_USER-}" ] && [ -n "${MYSQL_PASSWORD-}" ]; then
      echo "CREATE USER $(quoted "$MYSQL_USER")@'%' IDENTIFIED BY $(quoted "$MYSQL_PASSWORD");"
      if [ -n "${MYSQL_DATABASE-}" ]; then
        echo "GRANT ALL ON $(named "$MYSQL_DATABASE").* TO $(quoted "$MYSQL_USER")@'%';"
      fi
    fi
  } | mariadbd --user=mysql --bootstrap --datadir="$data/.new" --general-log=off 2>/dev/null
  # `mysql` last: it is what says that the database is there.
  find "$data/.new" -mindepth 1 -maxdepth 1 ! -name mysql -exec mv -t "$data" {} +
  mv "$data/.new/mysql" "$data/mysql"
  rmdir "$data/.new"
  say 'Database files initialized'
fi
exec "$@"
