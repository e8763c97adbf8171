//go:build !linux

package reflector

func newAlarm(transport) alarm { return newTimerAlarm() }
