{{/* settings.yaml, as aihub.chart.Settings reads it. */}}
{{- define "aihub.settings" -}}
{{- $priority := ternary (printf "%s-user" (include "aihub.clusterName" .)) "" .Values.scheduling.podPriority.enabled -}}
{{- $user := .Values.singleuser -}}
{{- dict
  "instance" (printf "%s/%s" .Release.Namespace .Release.Name)
  "release" (dict "name" .Release.Name "namespace" .Release.Namespace)
  "hubUrl" (include "aihub.hubUrl" .)
  "proxyApiUrl" (include "aihub.proxyApiUrl" .)
  "userNamespace" (include "aihub.userNamespace" .)
  "readNodes" .Values.rbac.readNodes
  "hub" (pick .Values.hub "baseUrl" "config" "concurrentSpawnLimit" "activeServerLimit")
  "singleuser" (merge
    (dict
      "imagePullSecrets" .Values.imagePullSecrets
      "priorityClassName" $priority
      "schedulerName" .Values.scheduling.schedulerName
      "tolerations" $user.extraTolerations)
    (pick $user "startTimeout" "imagePullPolicy" "nodeSelector" "extraLabels" "extraAnnotations" "extraEnv"
      "extraVolumes" "extraVolumeMounts" "extraPodSpec"))
  "cull" .Values.cull
| toYaml -}}
{{- end -}}

{{/* The files of hub.extraConfig, each with the ending of Python. */}}
{{- define "aihub.extraConfig" -}}
{{- $files := dict -}}
{{- range $name, $text := .Values.hub.extraConfig -}}
{{- $_ := set $files (printf "%s.py" (trimSuffix ".py" $name)) $text -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}
