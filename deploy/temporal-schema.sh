#!/bin/sh
# Creates Temporal's two databases on PostgreSQL and brings their schema up to date; may run again.
set -eu
: "${POSTGRES_SEEDS:?the host of PostgreSQL}" "${POSTGRES_USER:?}" "${SQL_PASSWORD:?}"

prepare() {
    database=$1
    schema=$2
    tool="temporal-sql-tool --plugin postgres12 --ep $POSTGRES_SEEDS -u $POSTGRES_USER -p ${DB_PORT:-5432} --db $database"
    $tool create
    $tool setup-schema -v 0.0
    $tool update-schema -d "/etc/temporal/schema/postgresql/v12/$schema/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility
