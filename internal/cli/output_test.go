package cli

import (
	"strings"
	"testing"
)

// TestColumnsAreAligned also behind rows whose last cells are empty, and where the widest cell comes late.
func TestColumnsAreAligned(t *testing.T) {
	rows := [][]string{{"NAME", "SSH", "MESSAGE"}, {"a", "127.0.0.1:60022", ""}, {"böse", "-", "broken"}, {"a-long-name", "-", ""}}
	const want = "NAME          SSH               MESSAGE\na             127.0.0.1:60022\nböse          -                 broken\na-long-name   -\n"
	var table, rowByRow strings.Builder
	if err := new(format).table(&table, rows); err != nil || table.String() != want {
		t.Errorf("%v:\n%s", err, table.String())
	}
	c := &columns{w: &rowByRow}
	c.header(rows[1:], rows[0]...)
	for _, row := range rows[1:] {
		if err := c.row(row...); err != nil {
			t.Fatal(err)
		}
	}
	if rowByRow.String() != want {
		t.Errorf("row by row:\n%s", rowByRow.String())
	}
}
