{{/* Parts of pods. */}}

{{/* Reference of an image of the chart; the argument is {"root": $, "image": values}. */}}
{{- define "aihub.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.name (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What Pod Security "restricted" asks of a pod. */}}
{{- define "aihub.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What Pod Security "restricted" asks of a container, and a root nobody writes. */}}
{{- define "aihub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where hub, proxy and the chart's jobs run, and with which secrets they are fetched. */}}
{{- define "aihub.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.scheduling.corePods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.scheduling.corePods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.scheduling.corePods.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same for pods that come after the priority classes. */}}
{{- define "aihub.corePlacement" -}}
{{- include "aihub.placement" . }}
{{- if .Values.scheduling.podPriority.enabled }}
priorityClassName: {{ include "aihub.clusterName" . }}-core
{{- end }}
{{- end -}}

{{/* Variables from a map: a text, or the rest of an EnvVar. */}}
{{- define "aihub.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
{{- if kindIs "string" $value }}
  value: {{ $value | quote }}
{{- else }}
{{- toYaml $value | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A variable from a key of the Secret; the argument is {"root": $, "name":, "key":, "optional":}. */}}
{{- define "aihub.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.hub.existingSecret }}
      key: {{ .key }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end -}}
