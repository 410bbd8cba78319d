// Package trace shows timelines of package schedule, real or simulated: as text ([Gantt]), as a
// picture ([WriteSVG]), or in a browser's trace viewer ([WriteJSON]). [ClockOffset] compares the
// clocks of two ranks, so that timelines of several ranks stand on one axis of time.
package trace
