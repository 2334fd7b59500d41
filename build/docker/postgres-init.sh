#!/bin/bash
# postgres-init.sh - the reader's role and database, when the cluster is made
#
# Run once by the postgres image (/docker-entrypoint-initdb.d). The reader owns its
# database and nothing else; its tables it makes itself.
set -euo pipefail

# The image does not run this again: the cluster is there when it fails.
fail()
{
    echo "postgres-init: $1; nothing is stored yet: mend .env," \
        "\"docker compose down\", remove the volume \"database\", start again" >&2
    exit 1
}

case $DB_USER in
postgres | public | none | pg_*) fail "DB_USER=$DB_USER is a name of PostgreSQL's own" ;;
esac
case $DB_NAME in
postgres | template[01]) fail "DB_NAME=$DB_NAME is a name of PostgreSQL's own" ;;
esac
psql -v ON_ERROR_STOP=1 -v name="$DB_NAME" -v user="$DB_USER" \
    -v password="$DB_PASSWORD" --username "$POSTGRES_USER" --dbname postgres <<'SQL' ||
CREATE ROLE :"user" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"user";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
    fail "there is no role or no database"
