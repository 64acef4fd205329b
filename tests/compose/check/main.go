// Reads compose.yaml and the Dockerfile with the code of `docker compose config` and `docker build`.
//
//	check compose FILE ENV_FILE [PROFILE...]   prints the project as JSON
//	check dockerfile FILE                      prints stages, instructions and warnings as JSON
//	check context FOLDER                       prints the files that .dockerignore leaves, as JSON
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type stage struct {
	Name         string
	Base         string
	Instructions []instruction
}

type instruction struct {
	Name string
	Text string
}

func compose(file, environment string, profiles []string) (any, error) {
	options, err := cli.NewProjectOptions(
		[]string{file}, cli.WithEnvFiles(environment), cli.WithDotEnv, cli.WithProfiles(profiles),
	)
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func dockerfile(file string) (any, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	warnings := []string{}
	for _, warning := range parsed.Warnings {
		warnings = append(warnings, warning.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, text string, _ []parser.Range) {
		warnings = append(warnings, rule+": "+text)
	}})
	parsedStages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return nil, err
	}
	var stages []stage
	for _, one := range parsedStages {
		next := stage{Name: one.Name, Base: one.BaseName}
		for _, command := range one.Commands {
			text := fmt.Sprint(command)
			if known, ok := command.(fmt.Stringer); ok {
				text = known.String()
			}
			next.Instructions = append(next.Instructions, instruction{command.Name(), text})
		}
		stages = append(stages, next)
	}
	return map[string]any{"stages": stages, "warnings": warnings}, nil
}

func buildContext(folder string) (any, error) {
	file, err := os.Open(filepath.Join(folder, ".dockerignore"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, err
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	files := []string{}
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		if !skip {
			files = append(files, name)
		}
		return err
	})
	return files, err
}

func main() {
	var result any
	var err error
	switch {
	case len(os.Args) >= 4 && os.Args[1] == "compose":
		result, err = compose(os.Args[2], os.Args[3], os.Args[4:])
	case len(os.Args) == 3 && os.Args[1] == "dockerfile":
		result, err = dockerfile(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "context":
		result, err = buildContext(os.Args[2])
	default:
		err = fmt.Errorf("usage: check compose FILE ENV_FILE [PROFILE...] | dockerfile FILE | context FOLDER")
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
