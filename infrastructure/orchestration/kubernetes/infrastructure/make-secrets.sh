#!/bin/sh
# Makes the secrets of a platform (INF-04): reads secrets.env, generates what it lacks, and writes
# 00-secrets.yaml from it. Both files are readable by their owner only and never in git. Keep secrets.env in a
# safe: without DATA_KEY no tenant's password can be read.
#
#   make-secrets.sh [FOLDER]      the folder of both files; default: the folder of this script
#
# To rotate a secret, remove its line and run this again; docs/INSTALL.md says which ones need more than that.
# Mail and Paynow are given, not generated: add SMTP_USERNAME and SMTP_PASSWORD, or the five PAYNOW_ lines, to
# secrets.env.
set -eu
umask 077
folder=${1:-$(dirname "$0")}
file=$folder/secrets.env
[ -e "$file" ] || : > "$file"
chmod 600 "$file"

services='user-service billing-service instance-service instance-worker'
services="$services database-service notification-service gateway"

get() { sed -n "/^$1=/{s///p;q;}" "$file"; }
has() { [ -n "$(get "$1")" ]; }
# put NAME COMMAND…: what the command prints becomes the value, unless there is one.
put() {
  name=$1
  shift
  has "$name" && return
  value=$("$@")
  [ -n "$value" ] || { echo "no value for $name" >&2; exit 1; }
  printf '%s=%s\n' "$name" "$value" >> "$file"
}
# Letters and digits only, so that a value needs no quotes anywhere.
password() { openssl rand -hex 24; }
# PKCS#8 in base64, as SERVICE_TOKEN_PRIVATE_KEY and JWT_PRIVATE_KEY want it.
ed25519() { openssl genpkey -algorithm ed25519 -outform DER | base64 | tr -d '\n'; }
# The raw 32 bytes of the public half, base64url without padding.
public() {
  get "$1" | base64 -d | openssl pkey -inform DER -pubout -outform DER | tail -c 32 |
    base64 | tr '+/' '-_' | tr -d '=\n'
}
upper() { printf '%s' "$1" | tr 'a-z-' 'A-Z_'; }

put POSTGRES_USER printf odoo_user
for name in POSTGRES_PASSWORD POSTGRES_AUTH_SERVICE_PASSWORD POSTGRES_BILLING_SERVICE_PASSWORD \
  POSTGRES_INSTANCE_SERVICE_PASSWORD POSTGRES_DATABASE_SERVICE_PASSWORD \
  POSTGRES_NOTIFICATION_SERVICE_PASSWORD REDIS_PASSWORD RABBITMQ_PASSWORD JWT_SECRET_KEY \
  KILLBILL_PASSWORD KILLBILL_API_KEY KILLBILL_API_SECRET KILLBILL_HOOK_TOKEN; do
  put $name password
done
put RABBITMQ_USER printf saasodoo
put KILLBILL_USERNAME printf saasodoo
put JWT_PRIVATE_KEY ed25519
put DATA_KEY openssl rand -base64 32
keys=
for service in $services automation; do
  name=SERVICE_KEY_$(upper "$service")
  put "$name" ed25519
  keys=$keys${keys:+,}$service=$(public "$name")
done

out=$folder/00-secrets.yaml
part=$folder/00-secrets.part
exec 3> "$part"
begin() {
  printf -- '---\napiVersion: v1\nkind: %s\nmetadata:\n  name: %s\n' "$1" "$2" >&3
  printf '  namespace: saasodoo\n  labels:\n    app: %s\n' "$2" >&3
  printf '    app.kubernetes.io/name: %s\n    app.kubernetes.io/part-of: saasodoo\n' "$2" >&3
  [ "$1" = ConfigMap ] || printf 'type: Opaque\n' >&3
  printf 'data:\n' >&3
}
line() { printf '  %s: %s\n' "$1" "$(get "$2" | tr -d '\n' | base64 | tr -d '\n')" >&3; }
# secret NAME KEY…: a Secret with these lines, those that are there.
secret() {
  begin Secret "$1"
  shift
  for key; do if has "$key"; then line "$key" "$key"; fi; done
}

echo '# Made by make-secrets.sh from secrets.env; never commit it.' >&3
secret postgres-credentials POSTGRES_USER POSTGRES_PASSWORD POSTGRES_AUTH_SERVICE_PASSWORD \
  POSTGRES_BILLING_SERVICE_PASSWORD POSTGRES_INSTANCE_SERVICE_PASSWORD POSTGRES_DATABASE_SERVICE_PASSWORD \
  POSTGRES_NOTIFICATION_SERVICE_PASSWORD
secret redis-credentials REDIS_PASSWORD
secret rabbitmq-credentials RABBITMQ_USER RABBITMQ_PASSWORD
secret jwt-secret JWT_SECRET_KEY JWT_PRIVATE_KEY
secret killbill-credentials KILLBILL_USERNAME KILLBILL_PASSWORD KILLBILL_API_KEY KILLBILL_API_SECRET \
  KILLBILL_HOOK_TOKEN
secret data-key DATA_KEY DATA_KEY_PREVIOUS
begin Secret service-keys
for service in $services; do line "$service" "SERVICE_KEY_$(upper "$service")"; done
if has SMTP_PASSWORD; then secret smtp-credentials SMTP_USERNAME SMTP_PASSWORD; fi
if has PAYNOW_INTEGRATION_KEY; then
  secret paynow-credentials PAYNOW_INTEGRATION_ID PAYNOW_INTEGRATION_KEY PAYNOW_MERCHANT_EMAIL \
    PAYNOW_BASE_URL PAYNOW_RESULT_URL
fi
# All of them, for operators; no pod has it.
# shellcheck disable=SC2046 # Names have no spaces.
secret saasodoo-secrets $(sed -n 's/^\([A-Z_]*\)=.*/\1/p' "$file")
begin ConfigMap saasodoo-public-keys
printf '  SERVICE_TOKEN_PUBLIC_KEYS: "%s"\n  JWT_PUBLIC_KEY: "%s"\n' "$keys" "$(public JWT_PRIVATE_KEY)" >&3
# The old public key while tokens that it signed are still good.
if has JWT_PREVIOUS_KEY; then printf '  JWT_PREVIOUS_KEY: "%s"\n' "$(get JWT_PREVIOUS_KEY)" >&3; fi
exec 3>&-
chmod 600 "$part"
mv "$part" "$out"
echo "$out"
