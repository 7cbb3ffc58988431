{{/* Fails with what to change unless exactly one store is described, and described whole. */}}
{{- define "trainyard.store.validate" -}}
{{- $external := .Values.store.external }}
{{- $given := or $external.endpoint $external.bucket $external.existingSecret }}
{{- if and .Values.store.embedded.enabled $given }}
  {{- fail "store.embedded.enabled is true and store.external is filled in: choose one; set store.embedded.enabled=false to use the external store" }}
{{- end }}
{{- if not (or .Values.store.embedded.enabled $given) }}
  {{- fail "there is no object store: set store.embedded.enabled=true, or store.external.endpoint, store.external.bucket and store.external.existingSecret" }}
{{- end }}
{{- if $given }}
  {{- range $field := list "endpoint" "bucket" "existingSecret" }}
    {{- if not (get $external $field) }}
      {{- fail (printf "store.external.%s is empty: an external store needs endpoint, bucket and existingSecret" $field) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "trainyard.store.endpoint" -}}
{{- if .Values.store.embedded.enabled -}}
http://trainyard-store.{{ .Release.Namespace }}.svc:7070
{{- else -}}
{{ .Values.store.external.endpoint }}
{{- end -}}
{{- end }}

{{- define "trainyard.store.region" -}}
{{ ternary "us-east-1" .Values.store.external.region .Values.store.embedded.enabled }}
{{- end }}

{{- define "trainyard.store.bucket" -}}
{{ ternary .Values.store.embedded.bucket .Values.store.external.bucket .Values.store.embedded.enabled }}
{{- end }}

{{- define "trainyard.store.secret" -}}
{{- if .Values.store.embedded.enabled -}}
{{ .Values.store.embedded.existingSecret | default "trainyard-store" }}
{{- else -}}
{{ .Values.store.external.existingSecret }}
{{- end -}}
{{- end }}

{{- define "trainyard.store.accessKeyKey" -}}
{{ ternary "AWS_ACCESS_KEY_ID" .Values.store.external.accessKeyKey .Values.store.embedded.enabled }}
{{- end }}

{{- define "trainyard.store.secretKeyKey" -}}
{{ ternary "AWS_SECRET_ACCESS_KEY" .Values.store.external.secretKeyKey .Values.store.embedded.enabled }}
{{- end }}

{{/*
The embedded store's keys as the data of a Secret: those in the cluster, else new ones. They are remembered for the
length of one rendering, because the Secret and the checksums of the pods that read it must be of the same keys.
*/}}
{{- define "trainyard.store.keys" -}}
{{- $memory := .Values.store.embedded }}
{{- if not (hasKey $memory "keys") }}
  {{- $known := (lookup "v1" "Secret" .Release.Namespace "trainyard-store").data | default dict }}
  {{- $access := get $known "AWS_ACCESS_KEY_ID" | default (randAlphaNum 20 | upper | b64enc) }}
  {{- $secret := get $known "AWS_SECRET_ACCESS_KEY" | default (randAlphaNum 40 | b64enc) }}
  {{- $_ := set $memory "keys" (dict "AWS_ACCESS_KEY_ID" $access "AWS_SECRET_ACCESS_KEY" $secret) }}
{{- end }}
{{- toYaml $memory.keys }}
{{- end }}

{{/* Restarts the pods that read generated keys when those change; keys from elsewhere are not the chart's to watch. */}}
{{- define "trainyard.store.checksum" -}}
{{- if and .Values.store.embedded.enabled (not .Values.store.embedded.existingSecret) -}}
checksum/store-keys: {{ include "trainyard.store.keys" . | sha256sum }}
{{- end -}}
{{- end }}
