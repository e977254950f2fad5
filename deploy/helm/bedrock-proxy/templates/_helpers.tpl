{{- define "bedrock-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "bedrock-proxy.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "bedrock-proxy.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "bedrock-proxy.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "bedrock-proxy.selector" -}}
app.kubernetes.io/name: {{ include "bedrock-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bedrock-proxy.labels" -}}
{{ include "bedrock-proxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "bedrock-proxy.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "bedrock-proxy.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "bedrock-proxy.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- /* Not empty when there may be several pods. */ -}}
{{- define "bedrock-proxy.several" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) }}true{{ end }}
{{- end }}

{{- /* Not empty when the database is PostgreSQL. */ -}}
{{- define "bedrock-proxy.postgres" -}}
{{- if or .Values.database.host .Values.database.urlInSecret }}true{{ end }}
{{- end }}

{{- define "bedrock-proxy.scheme" -}}
{{- if .Values.tls.secretName }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{- /* Rejects invalid values before anything is sent to the cluster. */ -}}
{{- define "bedrock-proxy.check" -}}
{{- $values := .Values }}
{{- $open := eq (toString (get $values.config "ALLOW_UNAUTHENTICATED")) "true" }}
{{- if and (include "bedrock-proxy.several" .) (not (include "bedrock-proxy.postgres" .)) }}
{{- fail "several replicas need PostgreSQL, because limits and tokens are in the database: set database.host (or database.urlInSecret with DATABASE_URL in existingSecret), or replicaCount=1 and autoscaling.enabled=false" }}
{{- end }}
{{- if and (include "bedrock-proxy.several" .) $values.persistence.enabled }}
{{- fail "persistence is one volume for one pod: set persistence.enabled=false, or replicaCount=1 and autoscaling.enabled=false" }}
{{- end }}
{{- if and $values.database.host $values.database.urlInSecret }}
{{- fail "database.host and database.urlInSecret exclude each other: remove one of them" }}
{{- end }}
{{- if and $values.database.urlInSecret (not $values.existingSecret) }}
{{- fail "database.urlInSecret means that DATABASE_URL is in existingSecret: set existingSecret" }}
{{- end }}
{{- if not (or $values.existingSecret $values.extraEnv $open) }}
{{- fail "connections from other pods need a key for tokens: create a Secret with JWT_SECRET_KEY and set existingSecret to its name (or set config.ALLOW_UNAUTHENTICATED=true if another component authenticates the clients)" }}
{{- end }}
{{- range $name := list "JWT_SECRET_KEY" "JWT_PREVIOUS_SECRET_KEYS" "DATABASE_URL" "DB_PASSWORD" "AWS_BEDROCK_SECRET_KEY" "AWS_BEDROCK_SESSION_TOKEN" "AWS_BEARER_TOKEN_BEDROCK" "OTEL_EXPORTER_OTLP_HEADERS" "OTEL_EXPORTER_OTLP_TRACES_HEADERS" "OTEL_EXPORTER_OTLP_METRICS_HEADERS" }}
{{- if hasKey $values.config $name }}
{{- fail (printf "config.%s is a secret, and config is readable: put it in the Secret that existingSecret names" $name) }}
{{- end }}
{{- end }}
{{- range $name := list "HOST" "PORT" "DATA_DIR" "DB_HOST" "DB_PORT" "DB_NAME" "DB_USER" "DB_SSLMODE" "SHUTDOWN_DELAY_SECONDS" "SHUTDOWN_GRACE_SECONDS" "TLS_CERT_FILE" "TLS_KEY_FILE" }}
{{- if hasKey $values.config $name }}
{{- fail (printf "config.%s is set by other values of this chart: see service, persistence, database, shutdown and tls" $name) }}
{{- end }}
{{- end }}
{{- end }}
