package upstream

import "github.com/pithead/pithead/gateway"

// byRetry is what decided the arm of a request that has left its own.
const byRetry = "retry"

// where is the cluster that the next round goes to.
func (r *rounds) where() *Cluster {
	if arm := r.refuge(); arm != nil {
		return arm.Cluster.(*Cluster)
	}
	return r.c
}

// refuge is the arm that the next round leaves the request's own for, or nil.
func (r *rounds) refuge() *gateway.Arm {
	if !r.p.LeaveCanary || r.x.Refuge == nil || r.req.Header.Get("Upgrade") != "" {
		return nil
	}
	if c, ok := r.x.Refuge.Cluster.(*Cluster); !ok || c.Healthy(r.x.Refuge.Subset) == 0 {
		return nil
	}
	return r.x.Refuge
}

// leave moves the exchange to the arm of the next round and returns its cluster.
// What keeps a client at its arm is left alone: it speaks for the requests to come.
func (r *rounds) leave() *Cluster {
	arm := r.refuge()
	if arm == nil {
		return r.c
	}
	x := r.x
	x.Arm, x.ArmBy, x.Subset, x.Cluster, x.Upstream = arm.Name, byRetry, arm.Subset, arm.Cluster, arm.Cluster.Name()
	x.Refuge, x.Session = nil, 0
	return arm.Cluster.(*Cluster)
}
