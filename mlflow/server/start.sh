#!/bin/sh
# A shared tracking server that asks for a name and a password. See README.md beside this file.
#
#   FOLDER     runs, users and (unless ARTIFACTS says otherwise) files; made if missing
#   DATABASE   default: sqlite in the folder; for several writers postgresql://USER@HOST/DB, with the password in PGPASSWORD
#   ARTIFACTS  default: FOLDER/artifacts; or s3://BUCKET/PATH with MLFLOW_S3_ENDPOINT_URL for another provider than AWS
#   HOST, PORT default: 127.0.0.1, 5000. Put a proxy with TLS before anything but loopback: passwords travel in the clear.
#   MLFLOW_AUTH_ADMIN_PASSWORD   password of the user admin, needed at the first start only, 12 characters or more
set -eu

folder=${1:?usage: $0 FOLDER (settings are environment variables, see the head of this file)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
umask 077

if [ ! -f "$folder/users.db" ] && [ -z "${MLFLOW_AUTH_ADMIN_PASSWORD:-}" ]; then
    echo "$0: the first start needs a password for the user admin: export MLFLOW_AUTH_ADMIN_PASSWORD='…'" >&2
    exit 2
fi
[ -f "$folder/secret" ] || python -c 'import secrets; print(secrets.token_hex(32))' > "$folder/secret"
# READ lets every user see every run and write those of their own; DEFAULT_PERMISSION=NO_PERMISSIONS hides them.
cat > "$folder/auth.ini" <<INI
[mlflow]
default_permission = ${DEFAULT_PERMISSION:-READ}
database_uri = sqlite:///$folder/users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI

export MLFLOW_AUTH_CONFIG_PATH="$folder/auth.ini"
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$folder/secret")
export MLFLOW_FLASK_SERVER_SECRET_KEY
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION="${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false}" # else ten processes and 1.9 GB
cd "$folder"
exec python -m mlflow server --app-name basic-auth \
    --backend-store-uri "${DATABASE:-sqlite:///$folder/mlflow.db}" \
    --artifacts-destination "${ARTIFACTS:-$folder/artifacts}" \
    --host "${HOST:-127.0.0.1}" --port "${PORT:-5000}" --workers "${WORKERS:-2}"
