{{/* What the pre-puller fetches, as {"images": [...]}: templates return only text. */}}
{{- define "aihub.prePullImages" -}}
{{- $images := .Values.prePuller.extraImages -}}
{{- if .Values.prePuller.pullImageStreams -}}
{{- range $stream := .Values.aihub.imageStreams -}}
{{- range $tag := $stream.tags -}}
{{- if and $tag.image (ne "retired" (default "offered" $tag.state)) (dig "offered" true $stream) -}}
{{- $images = append $images $tag.image -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "images" ($images | uniq | sortAlpha) | toJson -}}
{{- end -}}
