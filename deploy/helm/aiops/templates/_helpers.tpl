{{- define "aiops.name" -}}
{{- if or (eq .Release.Name .Chart.Name) (hasPrefix (print .Chart.Name "-") .Release.Name) -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "aiops.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "aiops.labels" -}}
{{ include "aiops.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "aiops.metadata" -}}
name: {{ include "aiops.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "aiops.labels" . | nindent 2 }}
{{- end -}}

{{- /* The pod of both modes. What only one of them has comes from its own values: .own. */ -}}
{{- define "aiops.pod" -}}
{{- $own := get .Values .Values.mode -}}
{{- $kubelet := $own.podResources | default false -}}
metadata:
  labels:
    {{- include "aiops.selector" . | nindent 4 }}
  annotations:
    checksum/config: {{ toYaml .Values.config | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "aiops.name" . }}
  automountServiceAccountToken: {{ .Values.discovery.enabled }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
  {{- end }}
  {{- with $own.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $own.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations:
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.mode "hub" }}
  topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "aiops.selector" . | nindent 8 }}
  {{- end }}
  securityContext:
    runAsNonRoot: {{ not $kubelet }}
    runAsUser: {{ $kubelet | ternary 0 65532 }}
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  containers:
  - name: aiops
    image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
    {{- with .Values.image.pullPolicy }}
    imagePullPolicy: {{ . }}
    {{- end }}
    args:
    - run
    - --config.file=/etc/aiops/aiops.yaml
    {{- if and (eq .Values.mode "hub") .Values.hub.sharded }}
    - --shard=$(POD_INDEX)/{{ .Values.hub.replicas }}
    {{- end }}
    env:
    {{- if eq .Values.mode "hub" }}
    - name: POD_INDEX
      valueFrom:
        fieldRef:
          fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
    - name: AIOPS_NVML__ENABLED
      value: "off"
    {{- else }}
    - name: NODE_NAME
      valueFrom:
        fieldRef:
          fieldPath: spec.nodeName
    - name: NVIDIA_VISIBLE_DEVICES
      value: all
    - name: NVIDIA_DRIVER_CAPABILITIES
      value: utility
    {{- end }}
    {{- if $kubelet }}
    - name: AIOPS_POD_RESOURCES__ENABLED
      value: "true"
    {{- end }}
    {{- range $name, $value := .Values.env }}
    - name: {{ $name }}
      value: {{ $value | quote }}
    {{- end }}
    ports:
    - name: http
      containerPort: {{ include "aiops.port" . }}
    livenessProbe:
      httpGet:
        path: /-/healthy
        port: http
        {{- if .Values.tls }}
        scheme: HTTPS
        {{- end }}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet:
        path: /-/ready
        port: http
        {{- if .Values.tls }}
        scheme: HTTPS
        {{- end }}
      periodSeconds: 5
    resources:
      {{- toYaml $own.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    volumeMounts:
    - name: config
      mountPath: /etc/aiops/aiops.yaml
      subPath: aiops.yaml
      readOnly: true
    - name: tokens
      mountPath: /etc/aiops/tokens
      readOnly: true
    - name: state
      mountPath: /var/lib/aiops
    - name: tmp
      mountPath: /tmp
    {{- if $kubelet }}
    - name: pod-resources
      mountPath: /var/lib/kubelet/pod-resources
      readOnly: true
    {{- end }}
    {{- with .Values.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
  - name: config
    configMap:
      name: {{ include "aiops.name" . }}-config
  - name: tokens
    secret:
      secretName: {{ .Values.tokensSecret }}
      defaultMode: 0440
  {{- if eq .Values.mode "daemonset" }}
  - name: state
    emptyDir:
      sizeLimit: {{ .Values.daemonset.stateLimit }}
  {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if $kubelet }}
  - name: pod-resources
    hostPath:
      path: /var/lib/kubelet/pod-resources
      type: Directory
  {{- end }}
  {{- with .Values.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* The port of web.listen_address: what probes, Service and monitors name must be what the daemon opens. */ -}}
{{- define "aiops.port" -}}
{{- regexFind "[0-9]+$" (toString (dig "web" "listen_address" ":9797" .Values.config)) | default "9797" -}}
{{- end -}}

{{- define "aiops.endpoint" -}}
- port: http
  path: /metrics
  interval: 15s
  scrapeTimeout: 10s
  {{- if .Values.tls }}
  scheme: https
  tlsConfig:
    insecureSkipVerify: true
  {{- end }}
  authorization:
    credentials:
      name: {{ .Values.tokensSecret }}
      key: programs
{{- end -}}
