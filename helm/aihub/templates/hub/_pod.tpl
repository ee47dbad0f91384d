{{/* The spec of the hub's pod, before hub.extraPodSpec. */}}
{{- define "aihub.hubPod" -}}
{{- $url := printf "%shub/health" .Values.hub.baseUrl -}}
serviceAccountName: {{ include "aihub.serviceAccount" . }}
automountServiceAccountToken: true
enableServiceLinks: false
securityContext: {{- include "aihub.podSecurity" . | nindent 2 }}
{{- include "aihub.corePlacement" . }}
containers:
  - name: hub
    image: {{ include "aihub.image" (dict "root" . "image" .Values.hub.image) }}
    {{- with .Values.hub.image.pullPolicy }}
    imagePullPolicy: {{ . }}
    {{- end }}
    command: [aihub, hub, --config, /etc/aihub/config.d]
    workingDir: /srv/aihub
    env:
      - {name: HOME, value: /srv/aihub}
      - {name: AIHUB_SETTINGS, value: /etc/aihub/settings/settings.yaml}
      - {name: AIHUB_CONFIG, value: /etc/aihub/policy}
      {{- include "aihub.hubSecrets" . | nindent 6 }}
      {{- if include "aihub.sso" . }}
      - {name: AIHUB_CLIENT_SECRET_FILE, value: /etc/aihub/client/clientSecret}
      {{- end }}
      {{- include "aihub.env" .Values.hub.extraEnv | nindent 6 }}
    ports:
      - {name: http, containerPort: 8081}
    startupProbe:
      httpGet: {path: {{ $url }}, port: http}
      periodSeconds: 2
      failureThreshold: 300 # a large database may be brought up to date first
    readinessProbe:
      httpGet: {path: {{ $url }}, port: http}
      periodSeconds: 2
      timeoutSeconds: 2
    livenessProbe:
      httpGet: {path: {{ $url }}, port: http}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 30
    resources: {{- toYaml .Values.hub.resources | nindent 6 }}
    securityContext: {{- include "aihub.containerSecurity" . | nindent 6 }}
    volumeMounts:
      - {name: state, mountPath: /srv/aihub}
      - {name: tmp, mountPath: /tmp}
      - {name: extra-config, mountPath: /etc/aihub/config.d, readOnly: true}
      {{- if include "aihub.sso" . }}
      - {name: client, mountPath: /etc/aihub/client, readOnly: true} # a folder: files of a subPath never change
      {{- end }}
      {{- include "aihub.configMounts" . | nindent 6 }}
      {{- with .Values.hub.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: state
    {{- if eq .Values.hub.db.type "sqlite-pvc" }}
    persistentVolumeClaim: {claimName: {{ include "aihub.claim" . }}}
    {{- else }}
    emptyDir: {}
    {{- end }}
  - name: tmp
    emptyDir: {}
  - name: extra-config
    configMap: {name: {{ include "aihub.fullname" . }}-extra-config}
  {{- if include "aihub.sso" . }}
  - name: client
    secret:
      secretName: {{ .Values.hub.existingSecret }}
      items: [{key: clientSecret, path: clientSecret}]
      defaultMode: 0440 # the group is fsGroup
  {{- end }}
  {{- include "aihub.configVolumes" . | nindent 2 }}
  {{- with .Values.hub.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The hub's secrets in its environment: what it reads when it starts. Passwords only where people sign in with one. */}}
{{- define "aihub.hubSecrets" -}}
{{- $postgres := eq .Values.hub.db.type "postgres" -}}
{{ include "aihub.secretEnv" (dict "root" . "name" "CONFIGPROXY_AUTH_TOKEN" "key" "proxyToken") }}
{{ include "aihub.secretEnv" (dict "root" . "name" "JPY_COOKIE_SECRET" "key" "cookieSecret") }}
{{ include "aihub.secretEnv" (dict "root" . "name" "JUPYTERHUB_CRYPT_KEY" "key" "cryptKey") }}
{{- if not (include "aihub.sso" .) }}
{{ include "aihub.secretEnv" (dict "root" . "name" "AIHUB_USER_PASSWORD" "key" "userPassword" "optional" true) }}
{{ include "aihub.secretEnv" (dict "root" . "name" "AIHUB_ADMIN_PASSWORD" "key" "adminPassword" "optional" true) }}
{{- end }}
{{- if $postgres }}
{{ include "aihub.secretEnv" (dict "root" . "name" "AIHUB_HUB_DATABASE_URL" "key" "hubDatabaseUrl") }}
{{ include "aihub.secretEnv" (dict "root" . "name" "AIHUB_DATABASE_URL" "key" "databaseUrl") }}
{{- end }}
{{- end -}}

{{/* What hub and tests read: settings, policy, and whom calls to the provider trust. */}}
{{- define "aihub.configMounts" -}}
{{- include "aihub.caMount" . -}}
- {name: settings, mountPath: /etc/aihub/settings, readOnly: true}
- {name: policy, mountPath: /etc/aihub/policy, readOnly: true}
{{- if .Values.imageStreamDocuments }}
- {name: imagestreams, mountPath: /etc/aihub/imagestreams, readOnly: true}
{{- end }}
{{- end -}}

{{- define "aihub.configVolumes" -}}
{{- $name := include "aihub.fullname" . -}}
{{- include "aihub.caVolume" . -}}
- name: settings
  configMap: {name: {{ $name }}-settings}
- name: policy
  configMap: {name: {{ $name }}-policy}
{{- if .Values.imageStreamDocuments }}
- name: imagestreams
  configMap: {name: {{ $name }}-imagestreams}
{{- end }}
{{- end -}}

{{- define "aihub.caMount" -}}
{{- if .Values.hub.caConfigMap -}}
- {name: ca, mountPath: /etc/aihub/ca, readOnly: true}
{{ end -}}
{{- end -}}

{{- define "aihub.caVolume" -}}
{{- with .Values.hub.caConfigMap -}}
- name: ca
  configMap: {name: {{ . }}}
{{ end -}}
{{- end -}}
