#!/usr/bin/env bash
# Logins and databases of a new PostgreSQL: the image's own superuser would see through every policy of row security,
# so platform and Airflow get ordinary ones. The server's image runs this once, when its data folder is new.
set -euo pipefail
: "${PLATFORM_DB_PASSWORD:?choose one}" "${AIRFLOW_DB_PASSWORD:?choose one}"
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv platform PLATFORM_DB_PASSWORD
\getenv airflow AIRFLOW_DB_PASSWORD
CREATE ROLE tanada LOGIN CREATEROLE PASSWORD :'platform';
CREATE ROLE airflow LOGIN PASSWORD :'airflow';
CREATE DATABASE tanada OWNER tanada;
CREATE DATABASE airflow OWNER airflow;
REVOKE CONNECT ON DATABASE tanada, airflow FROM PUBLIC;
SQL
