{{/* The policy file: aihub, and where the documents of imageStreamDocuments are mounted. */}}
{{- define "aihub.policy" -}}
{{- include "aihub.checks" . -}}
{{- $policy := deepCopy .Values.aihub -}}
{{- if .Values.imageStreamDocuments -}}
{{- $files := append (dig "imageStreamFiles" list $policy) "/etc/aihub/imagestreams/*.yaml" -}}
{{- $_ := set $policy "imageStreamFiles" $files -}}
{{- end -}}
{{- $_ := set $policy "signIn" (include "aihub.signIn" . | fromYaml) -}}
{{- toYaml $policy -}}
{{- end -}}

{{/* The documents of image streams, each with the ending of YAML. */}}
{{- define "aihub.imageStreamDocuments" -}}
{{- $files := dict -}}
{{- range $name, $text := .Values.imageStreamDocuments -}}
{{- $_ := set $files (printf "%s.yaml" (trimSuffix ".yml" (trimSuffix ".yaml" $name))) $text -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* What the schema cannot say: nothing, or a failure. */}}
{{- define "aihub.checks" -}}
{{- $method := dig "signIn" "method" "local" .Values.aihub -}}
{{- if eq "local" $method -}}
{{- fail "aihub.signIn.method: local signs people in without a password, on one machine only: use keycloak, oidc or github, or sharedPassword for evaluation" -}}
{{- end -}}
{{- with .Values.tests.user -}}
{{- if include "aihub.sso" $ -}}
{{- fail (printf "tests.user: nobody can sign in with aihub.signIn.method %s without a browser: leave it empty" $method) -}}
{{- end -}}
{{- $people := dig "signIn" "people" dict $.Values.aihub -}}
{{- if not (hasKey $people .) -}}
{{- fail (printf "tests.user: %s does not sign in here: name one of aihub.signIn.people" .) -}}
{{- end -}}
{{- if dig . "admin" false $people -}}
{{- fail (printf "tests.user: %s is an admin: name somebody of aihub.signIn.people who is not" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
