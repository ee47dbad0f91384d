{{/* The spec of the proxy's pod, before proxy.chp.extraPodSpec. */}}
{{- define "aihub.proxyPod" -}}
serviceAccountName: {{ include "aihub.fullname" . }}-proxy
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 60
securityContext: {{- include "aihub.podSecurity" . | nindent 2 }}
{{- include "aihub.corePlacement" . }}
containers:
  - name: proxy
    image: {{ include "aihub.image" (dict "root" . "image" .Values.proxy.chp.image) }}
    {{- with .Values.proxy.chp.image.pullPolicy }}
    imagePullPolicy: {{ . }}
    {{- end }}
    command:
      - configurable-http-proxy
      - --ip=
      - --port=8000
      - --api-ip=
      - --api-port=8001
      - --default-target={{ include "aihub.hubUrl" . }}
      - --error-target={{ include "aihub.hubUrl" . }}{{ .Values.hub.baseUrl }}hub/error
      - --log-level=warn
      {{- if or .Values.ingress.enabled .Values.httpRoute.enabled }}
      # Who is in front says whose request it is, and that it came by https. The proxy would append itself, and the hub
      # believes the last: cookies without Secure, links with http, one address for everybody who guesses at passwords.
      - --no-x-forward
      {{- end }}
      {{- range .Values.proxy.chp.extraCommandLineFlags }}
      - {{ . | quote }}
      {{- end }}
    env:
      {{- include "aihub.secretEnv" (dict "root" . "name" "CONFIGPROXY_AUTH_TOKEN" "key" "proxyToken") | nindent 6 }}
      {{- include "aihub.env" .Values.proxy.chp.extraEnv | nindent 6 }}
    ports:
      - {name: http, containerPort: 8000}
      - {name: api, containerPort: 8001}
    readinessProbe:
      httpGet: {path: /_chp_healthz, port: http}
      periodSeconds: 2
    livenessProbe:
      httpGet: {path: /_chp_healthz, port: http}
      initialDelaySeconds: 10
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    resources: {{- toYaml .Values.proxy.chp.resources | nindent 6 }}
    securityContext: {{- include "aihub.containerSecurity" . | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
volumes:
  - name: tmp
    emptyDir: {}
{{- end -}}
