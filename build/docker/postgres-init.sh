#!/bin/bash
# postgres-init.sh - the reader's role and database, when the cluster is made
#
# Run once by the postgres image (/docker-entrypoint-initdb.d). The reader owns its
# database and nothing else; its tables it makes itself.
set -euo pipefail

psql -v ON_ERROR_STOP=1 -v name="$DB_NAME" -v user="$DB_USER" \
    -v password="$DB_PASSWORD" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE :"user" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"user";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
