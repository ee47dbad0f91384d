{{/* Sign-in through a provider. */}}

{{/* The method, where it is one of a provider; otherwise nothing. */}}
{{- define "aihub.sso" -}}
{{- $method := dig "signIn" "method" "" .Values.aihub -}}
{{- if has $method (list "keycloak" "oidc" "github") -}}{{ $method }}{{- end -}}
{{- end -}}

{{/* signIn of the policy file, through a provider with the address that people reach the hub by. */}}
{{- define "aihub.signIn" -}}
{{- $signIn := deepCopy (dig "signIn" dict .Values.aihub) -}}
{{- $public := include "aihub.publicUrl" . -}}
{{- if and $public (include "aihub.sso" .) -}}
{{- $_ := set $signIn "publicUrl" $public -}}
{{- end -}}
{{- toYaml $signIn -}}
{{- end -}}

{{/* The address that people reach the hub by, where the values say it without doubt; otherwise nothing. */}}
{{- define "aihub.publicUrl" -}}
{{- $said := dig "signIn" "publicUrl" "" .Values.aihub -}}
{{- $host := join " " .Values.ingress.hosts -}}
{{- if $said -}}
{{- $said | trimSuffix "/" -}}
{{- else if and .Values.ingress.enabled .Values.ingress.tls (regexMatch "^[^* ]+$" $host) -}}
{{- printf "https://%s" $host -}}
{{- end -}}
{{- end -}}

{{/* Ports of the provider that the hub calls, beside those that are open anyway, as {"ports": [...]}. */}}
{{- define "aihub.providerPorts" -}}
{{- $ports := list -}}
{{- with include "aihub.sso" . -}}
{{- $provider := dig "signIn" . dict $.Values.aihub -}}
{{- range compact (list $provider.internalUrl $provider.issuer $provider.url $provider.apiUrl) -}}
{{- $address := urlParse . -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $address.host) | default (ternary "80" "443" (eq $address.scheme "http")) -}}
{{- if not (has $port (list "443" "6443" "8443")) -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "ports" ($ports | uniq) | toJson -}}
{{- end -}}
