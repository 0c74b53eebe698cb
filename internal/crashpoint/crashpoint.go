// Package crashpoint owns the list of the moments at which a death of the daemon counts: before, between and after the steps
// of every change that takes more than one. A process that dies at any of them leaves what the next one finishes or undoes,
// with nothing lost. In a build with the tag "crashpoints" it dies at each one, once; in every other build At does nothing.
//
// test/faults goes through the list, and fails when a point is not reached.
package crashpoint

// Point is one moment. The names read after "it died when".
type Point string

// The points, by what is under way.
const (
	// Every file that is replaced: records, settings, keys.
	FileWritten Point = "a file was written under its temporary name"
	FileRenamed Point = "a file had got its name"

	// The ssh keys.
	KeyAside  Point = "an unusable key was set aside"
	KeyLinked Point = "the private key was there and the public one was not"

	// A child of the daemon, worker or agent.
	ChildSpawned   Point = "a child was started and not recorded"
	WorkerRecorded Point = "a worker was recorded and had not been told to begin"
	WorkerEnded    Point = "a worker had ended and was still recorded"
	AgentRecorded  Point = "an agent was recorded and had not been told to begin"

	// Making an instance.
	TemplateCopied Point = "the template was copied and the instance not begun"
	CreateBegun    Point = "a creation was about to be recorded"
	RoomMade       Point = "what was in the way was moved aside and nobody had been told"
	CreateRecorded Point = "a creation was recorded and not begun"
	CreateWorked   Point = "the instance was made and not recorded as made"
	CreateDone     Point = "the instance was recorded as made"

	// Another template.
	ApplyBegun  Point = "another template was about to be applied"
	ApplyWorked Point = "another template was applied and not recorded"
	ApplyDone   Point = "another template was recorded as applied"

	// Starting.
	StartTidied Point = "what an earlier run had left was cleared and nothing was started"
	StartTold   Point = "an agent had been told to begin"

	// Stopping, and what follows any end of an agent.
	StopBegun   Point = "a stop was noted and the agent had not been asked"
	StopAsked   Point = "the agent had been asked to stop"
	EndSeen     Point = "the agent had ended and what it left was not cleared"
	EndTidied   Point = "what the agent had left was cleared and its end not recorded"
	EndRecorded Point = "the end of an agent was recorded and not told"

	// Taking over.
	AdoptOpened  Point = "an agent of an earlier daemon was found and not spoken to"
	AdoptGreeted Point = "an agent of an earlier daemon had answered and was not taken over"

	// What is requested by annotations.
	RestartNoted     Point = "a restart was noted and still requested"
	RequestForgotten Point = "a request was forgotten and not yet done"
	RestartBegun     Point = "a restart was no more noted and the VM not started"

	// Deleting.
	DeleteBegun      Point = "a deletion was about to be recorded"
	DeleteRecorded   Point = "a deletion was recorded and not begun"
	DeleteWorked     Point = "the directory was removed and the record was there"
	ForgetBegun      Point = "the record was removed and what lies beside it was not"
	DeleteDone       Point = "the instance was forgotten and nobody had been told"
	TemplateReleased Point = "the template was released and not deleted"
	ObjectReleased   Point = "the template was deleted and the object was there"

	// svc delete.
	RemoveBegun Point = "the VMs of an rdd instance were let go and its files were there"
	RemoveHalf  Point = "the VMs' files were removed and those of the API were there"
)

// All lists the points.
func All() []Point {
	return []Point{
		FileWritten, FileRenamed, KeyAside, KeyLinked,
		ChildSpawned, WorkerRecorded, WorkerEnded, AgentRecorded,
		TemplateCopied, CreateBegun, RoomMade, CreateRecorded, CreateWorked, CreateDone,
		ApplyBegun, ApplyWorked, ApplyDone,
		StartTidied, StartTold, StopBegun, StopAsked, EndSeen, EndTidied, EndRecorded,
		AdoptOpened, AdoptGreeted, RestartNoted, RequestForgotten, RestartBegun,
		DeleteBegun, DeleteRecorded, DeleteWorked, ForgetBegun, DeleteDone, TemplateReleased, ObjectReleased,
		RemoveBegun, RemoveHalf,
	}
}
