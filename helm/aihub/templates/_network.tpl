{{/* Parts of NetworkPolicies. */}}

{{/* Pods of the release in its own namespace; the argument is {"root": $, "component": name}. */}}
{{- define "aihub.corePeer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ .root.Release.Namespace }}
podSelector:
  matchLabels: {{- include "aihub.selector" . | nindent 4 }}
{{- end -}}

{{/* User servers, in all their namespaces. */}}
{{- define "aihub.userPeer" -}}
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{- (include "aihub.userNamespaces" . | fromJson).names | toYaml | nindent 8 }}
podSelector:
  matchLabels: {{- include "aihub.selector" (dict "root" . "component" "user-server") | nindent 4 }}
{{- end -}}

{{/* Ports of user servers: 8888, and those of start adapters. */}}
{{- define "aihub.userPorts" -}}
{{- $ports := list 8888 -}}
{{- range .Values.aihub.imageStreams -}}
{{- $ports = append $ports (dig "start" "port" 8888 . | int) -}}
{{- end -}}
{{- $rules := list -}}
{{- range $ports | uniq | sortAlpha -}}
{{- $rules = append $rules (dict "protocol" "TCP" "port" (int .)) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/* DNS: the cluster's, on its nodes (NodeLocal DNSCache), on private addresses, and OpenShift's. */}}
{{- define "aihub.dnsRules" -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    - ipBlock: {cidr: 10.0.0.0/8}
    - ipBlock: {cidr: 100.64.0.0/10}
    - ipBlock: {cidr: 169.254.0.0/16}
    - ipBlock: {cidr: 172.16.0.0/12}
    - ipBlock: {cidr: 192.168.0.0/16}
    - ipBlock: {cidr: "fc00::/7"}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: openshift-dns}}
  ports:
    - {protocol: UDP, port: 5353}
    - {protocol: TCP, port: 5353}
{{- end -}}
