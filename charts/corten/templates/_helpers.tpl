{{- define "corten.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "corten.labels" -}}
{{ include "corten.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "corten.name" -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* The files of a node's /etc/corten by key of the ConfigMap; names of registries are no keys. */}}
{{- define "corten.settings" -}}
{{- $files := dict }}
{{- if .Values.config }}
{{- $_ := set $files "chart.toml" (dict "path" "etc/corten/conf.d/50-chart.toml" "text" .Values.config) }}
{{- end }}
{{- if ne .Values.metrics.monitor "none" }}
{{- $text := printf "[metrics]\naddress = \"0.0.0.0:%d\"\n" (int .Values.metrics.port) }}
{{- $_ := set $files "metrics.toml" (dict "path" "etc/corten/conf.d/40-chart-metrics.toml" "text" $text) }}
{{- end }}
{{- range $registry, $text := .Values.certsD }}
{{- $key := printf "%s.hosts.toml" ($registry | sha256sum | trunc 16) }}
{{- $_ := set $files $key (dict "path" (printf "etc/corten/certs.d/%s/hosts.toml" $registry) "text" $text) }}
{{- end }}
{{- $files | toJson }}
{{- end }}

{{- /* What the installer of each node does. */}}
{{- define "corten.install" -}}
- node
- install
- --source=/payload
- --source=/settings
{{- if .Values.kubelet.switch }}
- --switch
{{- end }}
{{ include "corten.everywhere" . }}
{{- end }}

{{- define "corten.uninstall" -}}
- node
- uninstall
{{ include "corten.everywhere" . }}
{{- end }}

{{- define "corten.everywhere" -}}
- --root=/host
- --report=/run/corten-node/report
- --stay
{{- end }}
