package server

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
)

// The notices for systemd (Type=notify-reload). Without NOTIFY_SOCKET they do
// nothing, and a service manager that does not listen is no reason to stop.

func notifyReady(st Status) {
	text := fmt.Sprintf("generation %d, %d routes", st.Generation, st.Routes)
	if st.Err != nil {
		text += ", the last reload was refused"
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS="+text)
}

func notifyReloading() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec()+"\nSTATUS=reading the configuration")
}

func notifyStopping() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping+"\nSTATUS=finishing requests")
}
