// Package e2e keeps the packages in go.mod from which Kubernetes's end-to-end suite is built.
package e2e

import (
	_ "k8s.io/kubernetes/test/e2e"
)
