{{/* Names of the release's objects. */}}

{{- define "aihub.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "aihub" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-aihub" (.Release.Name | trunc 34 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* For objects of the whole cluster, of which two releases must not share one. */}}
{{- define "aihub.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "aihub.fullname" .) -}}
{{- end -}}

{{- define "aihub.serviceAccount" -}}
{{- .Values.hub.serviceAccount.name | default (printf "%s-hub" (include "aihub.fullname" .)) -}}
{{- end -}}

{{- define "aihub.claim" -}}
{{- .Values.hub.db.pvc.existingClaim | default (printf "%s-hub" (include "aihub.fullname" .)) -}}
{{- end -}}

{{- define "aihub.sharedNamespace" -}}
{{- .Values.singleuser.namespace | default (printf "%s-users" (.Release.Namespace | trunc 57 | trimSuffix "-")) -}}
{{- end -}}

{{/* All namespaces of user servers, sorted, as {"names": [...]}: templates return only text. */}}
{{- define "aihub.userNamespaces" -}}
{{- $shared := include "aihub.sharedNamespace" . -}}
{{- $names := list -}}
{{- if eq "perProject" (dig "cluster" "namespaces" "shared" .Values.aihub) -}}
{{- range $name, $project := .Values.aihub.projects -}}
{{- $names = append $names (required (printf "aihub.projects.%s.namespace is missing: with aihub.cluster.namespaces: perProject every project names its own" $name) $project.namespace) -}}
{{- end -}}
{{- if .Values.aihub.groupProjects -}}
{{- $names = append $names $shared -}}
{{- end -}}
{{- end -}}
{{- $names = $names | default (list $shared) | uniq | sortAlpha -}}
{{- if has .Release.Namespace $names -}}
{{- fail (printf "user servers must not run in the hub's own namespace %s: set singleuser.namespace, or the project's namespace, to another one" .Release.Namespace) -}}
{{- end -}}
{{- dict "names" $names | toJson -}}
{{- end -}}

{{/* The namespace of user servers whose project names none, as those that groups make. */}}
{{- define "aihub.userNamespace" -}}
{{- $names := (include "aihub.userNamespaces" . | fromJson).names -}}
{{- $shared := include "aihub.sharedNamespace" . -}}
{{- has $shared $names | ternary $shared (first $names) -}}
{{- end -}}

{{- define "aihub.hubUrl" -}}
{{- printf "http://%s-hub.%s:8081" (include "aihub.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "aihub.proxyApiUrl" -}}
{{- printf "http://%s-proxy-api.%s:8001" (include "aihub.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* Nothing, or a failure: the argument is {"key": values key, "name": namespace, "known": [namespaces]}. */}}
{{- define "aihub.knownNamespace" -}}
{{- if not (has .name .known) -}}
{{- fail (printf "%s.%s is no namespace of user servers: use one of %s" .key .name (join ", " .known)) -}}
{{- end -}}
{{- end -}}
